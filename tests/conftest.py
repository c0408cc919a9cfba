"""What all tests share."""

from multicsr.threads import share_cores

share_cores()
