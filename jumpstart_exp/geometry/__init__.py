"""What a network makes of the plane, and where its gradient lives: probes that read a network and never train it.

Source: van den Berg, "Some Insights into the Geometry and Training of Neural Networks", 2014 (Geometry).
"""
