"""From a source file to findings; knows nothing of the command line or the probe."""
