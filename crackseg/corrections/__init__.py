"""Put right what the network saw: cracks drawn, erased, split, joined, taken off the list.

An inspector's edits are a list, kept beside the result that they are about; the list after them is
made anew from the network's own result each time, so that nothing of it is ever lost and dropping
the last edit undoes it.
"""
