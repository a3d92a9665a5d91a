"""Reports of overlapping photographs become one map of the face, each crack counted once.

The photographs are placed on the plane of the face by their poses and by what neighbours show
alike, the centre lines are carried over, and a crack that several photographs show becomes one.
The face's axes: x to the right along it as seen from outside, y up its slope, both in m.
"""
