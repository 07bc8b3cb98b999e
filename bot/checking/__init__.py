"""The check of pictures: whether a picture may be shown as it is, before anybody sees it.

A process of its own looks (`worker`, held by `classifier`); `service` says what follows by the
setting of where the picture was asked for; `covers` makes what stands for a picture that is not to
be seen at once; `reviews` looks again at what could not be looked at in time, and does what
moderators decide. docs/moderation.md tells the rules.
"""
