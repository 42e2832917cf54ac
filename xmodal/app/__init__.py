"""`xmodal app`: a page on this machine to speak to a run, show it pictures, and search what it has embedded."""
