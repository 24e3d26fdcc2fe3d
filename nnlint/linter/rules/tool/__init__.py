"""What nnlint says about its own work: files that fail to load, models that it could not judge."""
