"""Either side of open_clip's models. Imported only where a config names one."""
