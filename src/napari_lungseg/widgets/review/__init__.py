"""The Review module: one slice after the other, one case after the other."""
