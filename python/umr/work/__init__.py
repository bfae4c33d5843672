"""What a work folder holds and who may write to it: the lock of its one writer, what is moved aside, how far each round got."""
