"""Math word problems from data sets."""
