"""What only a run can show: rules about the measurements of a probe."""
