"""A card for the pages of this package in dj-control-room.

The app registers itself there and is no entry point: what has one is known by the name of its distribution, which here
is also the label of the app with the admin's sections, and the control room takes the sections of such apps out of the
admin.
"""
