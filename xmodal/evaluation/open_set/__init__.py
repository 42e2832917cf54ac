"""Items that are none of the classes: a threshold from a dev set, and how well it tells them apart."""
