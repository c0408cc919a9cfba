"""What all tests share."""

from hypothesis import HealthCheck, settings

from multicsr.threads import share_cores

share_cores()
# How fast inputs are drawn says how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
