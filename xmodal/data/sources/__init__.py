"""Where pairs come from: files of rows, folders, tars, the hub, streams."""
