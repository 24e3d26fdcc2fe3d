"""What a file's source says, without running it: its models and the losses they meet."""
