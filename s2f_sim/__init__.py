"""Simulate event-driven spiking networks, prove what they compute and account for what they do."""

from s2f_sim.deployed_report import DeployedReport as DeployedReport
from s2f_sim.energy import EnergyReport as EnergyReport
from s2f_sim.energy import energy as energy
from s2f_sim.profile import list_profiles as list_profiles
from s2f_sim.run import LayerCounts as LayerCounts
from s2f_sim.run import Run as Run
from s2f_sim.simulator import Simulator as Simulator
from s2f_sim.simulator import simulate as simulate
from s2f_sim.verify import verify as verify
from s2f_sim.verify_report import VerifyReport as VerifyReport
