"""How the volume is looked at: upright planes, surfaces in 3-D, and all four at once."""
