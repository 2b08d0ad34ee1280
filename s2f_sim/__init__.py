"""Simulate event-driven spiking networks and account for what they do."""

from s2f_sim.run import LayerCounts as LayerCounts
from s2f_sim.run import Run as Run
from s2f_sim.simulator import Simulator as Simulator
from s2f_sim.simulator import simulate as simulate
