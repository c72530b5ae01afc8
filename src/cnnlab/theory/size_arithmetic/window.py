"""A window that slides along one dimension: the formula's output size, torch's, and the pixels it covers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from cnnlab.theory.output_size import output_size


@dataclass(frozen=True)
class Window:
    """The window of a convolution, a pooling or a transposed convolution along one dimension, in pixels.

    `padding` is on each side, `output_padding` at the end only. A transposed convolution is seen from its output: one
    window for each input pixel slides over the output, and the padding is cut off.
    """

    size: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    pool: bool = False
    ceil: bool = False
    transposed: bool = False
    output_padding: int = 0

    @property
    def extent(self) -> int:
        """How many pixels the window spans, the gaps of its dilation included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def exact(self) -> Fraction:
        """The output size by the formula, before rounding.

        Source: V. Dumoulin, F. Visin: A guide to convolution arithmetic for deep learning, 2016, relationships 6 and
        14, with dilation as in section 5.1.
        """
        if self.transposed:
            whole = (self.size - 1) * self.stride + self.extent - 2 * self.padding + self.output_padding
            return Fraction(whole)
        return output_size(self.size, self.kernel, self.stride, 2 * self.padding, self.dilation).exact

    @property
    def output(self) -> int | None:
        """The output size in torch; None where torch refuses the window or nothing comes out."""
        if self.output_padding and self.output_padding >= max(self.stride, self.dilation):
            return None
        if self.pool and 2 * self.padding > self.kernel:
            return None
        exact = self.exact
        whole = exact.numerator // exact.denominator
        if self.ceil:
            whole = -(-exact.numerator // exact.denominator)
            # The last window has to begin inside the image or the padding in front of it.
            if (whole - 1) * self.stride >= self.size + self.padding:
                whole -= 1
        return whole if whole >= 1 else None

    @property
    def fits(self) -> bool:
        """Whether the last window ends exactly at the border."""
        return self.output is not None and self.exact.denominator == 1

    @property
    def left_over(self) -> int:
        """Pixels of the padded input behind the last window; below 0 where the window sticks out."""
        if self.transposed:
            return 0
        return self.size + 2 * self.padding - self.extent - ((self.output or 1) - 1) * self.stride

    @property
    def num_windows(self) -> int:
        """How many windows there are: one for each output pixel, or input pixel of a transposed convolution."""
        return self.size if self.transposed else self.output or 0

    @property
    def num_pixels(self) -> int:
        """How many pixels the windows slide over: of the input, or of a transposed convolution's output."""
        return self.output or 0 if self.transposed else self.size

    def pixels(self, number: int) -> range:
        """The pixels under a window, counted from the first that is no padding."""
        first = number * self.stride - self.padding
        return range(first, first + self.extent, self.dilation)

    def uncovered(self) -> list[int]:
        """The pixels, padding included, that no window covers."""
        end = self.num_pixels + 2 * self.padding
        covered = bytearray(max(end, (self.num_windows - 1) * self.stride + self.extent))
        for number in range(self.num_windows):
            first = number * self.stride
            covered[first : first + self.extent : self.dilation] = b"\x01" * self.kernel
        return [pixel - self.padding for pixel in range(end) if not covered[pixel]]

    def cut_off(self) -> list[int]:
        """The windows that cover padding only."""
        return [number for number in range(self.num_windows) if not self._covers_pixels(self.pixels(number))]

    def _covers_pixels(self, pixels: range) -> bool:
        first = pixels.start if pixels.start >= 0 else pixels.start % pixels.step
        return first < min(pixels.stop, self.num_pixels)


def runs(positions: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The first and last of each run of neighbours among rising positions.

    >>> runs([1, 2, 4, 7, 8])
    ((1, 2), (4, 4), (7, 8))
    """
    spans: list[tuple[int, int]] = []
    for pixel in positions:
        if spans and spans[-1][1] == pixel - 1:
            spans[-1] = (spans[-1][0], pixel)
        else:
            spans.append((pixel, pixel))
    return tuple(spans)
