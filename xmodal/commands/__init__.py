"""The console command `xmodal`: `cli.py` finds the command, each command is one file with `main(argv)`."""
