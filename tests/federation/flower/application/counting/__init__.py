"""An application that adds one at each member, so that what came together can be counted."""
