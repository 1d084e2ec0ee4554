"""What make and the continuous integration run; nothing here is shipped."""
