"""What a network predicts for a whole split, and how far that is from the truth.

* `predictions`: the one way in which splits are evaluated. `metrics`: EPE, PCK, AUC and the protocol's name.
* `curves`: the metrics that a run wrote as it trained.
"""
