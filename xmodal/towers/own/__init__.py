"""xmodal's own small encoders, which train from scratch on two CPU cores."""
