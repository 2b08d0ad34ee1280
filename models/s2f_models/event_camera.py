"""What an event camera would record of a picture, learned from recordings of known pictures.

N-MNIST's camera makes the same three movements before every digit of MNIST. Which pixels fire how
often is thus a function of the picture that a small network can learn, and the scatter around it
is nearly Poisson's. With a thousand recordings it turns all 60,000 digits into recordings.

Source: Orchard et al. 2015, arXiv:1507.07629 (how the recordings were made).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2f_models.mnist import distorted
from s2f_models.nmnist import POLARITIES, SIDE

_WIDTH = 24
_BATCH, _RATE = 32, 3e-3
# Recordings differ in how many events they have as a whole, by this share at most.
_GAIN = 0.25
# Keeps the logarithm of a pixel that never fires finite.
_LEAST = 1e-6


class EventCamera(nn.Module):
    """How many events each pixel is expected to have in each time step."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.layers = nn.Sequential(
            nn.Conv2d(1, _WIDTH, 7, padding=3),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, timesteps * POLARITIES, 3, padding=1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """float32[B, 1, 34, 34] from 0 to 1 -> float32[B, T, 2, 34, 34], at least 0."""
        expected = F.softplus(self.layers(pictures))
        return expected.view(-1, self.timesteps, POLARITIES, SIDE, SIDE)

    def fit(
        self, pictures: Tensor, counts: Tensor, epochs: int, generator: torch.Generator
    ) -> float:
        """Make what was recorded likely: Poisson's likelihood, by Adam.

        Args:
            pictures: float32[N, 1, 34, 34].
            counts: of their recordings, float32[N, T, 2, 34, 34].
            epochs: how often each is seen.
            generator: draws the order.

        Returns:
            The mean negative log-likelihood of the last epoch, without what does not depend on
            the network.
        """
        optimizer = torch.optim.Adam(self.parameters(), _RATE)
        total = 0.0
        for _ in range(epochs):
            total = 0.0
            order = torch.randperm(len(pictures), generator=generator)
            for chosen in torch.split(order, _BATCH):
                expected = self(pictures[chosen])
                loss = (expected - counts[chosen] * (expected + _LEAST).log()).mean()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                total += float(loss.detach()) * len(chosen)
        return total / len(pictures)

    @torch.no_grad()
    def record(self, pictures: Tensor, levels: int, generator: torch.Generator) -> Tensor:
        """Made-up recordings of the pictures, each shown a little differently.

        Args:
            pictures: float32[B, 1, 34, 34] from 0 to 1.
            levels: the largest count.
            generator: draws how each is shown, and its events.

        Returns:
            float32[B, T, 2, 34, 34] of integers.
        """
        shown = distorted(pictures, generator).to(memory_format=torch.channels_last)
        gain = 1 + _GAIN * (2 * torch.rand(len(shown), 1, 1, 1, 1, generator=generator) - 1)
        return torch.poisson(self(shown) * gain, generator=generator).clamp(max=levels)
