"""What the console command `xmodal` and the scripts call."""
