"""Classical codecs to compare with: real files, written and read back by the codecs' own libraries.

Lossless:
    zip            a ZIP archive in memory that holds the raw pixels as one entry, DEFLATE level 9
    deflate        the raw DEFLATE stream within it
    png            Pillow's optimised PNG
    webp-lossless  WebP in its lossless mode at its greatest effort (method 6, quality 100)

At equal quality, the smallest file found whose MSE is not above a given one:
    jpeg           libjpeg-turbo, qualities 1 to 100, optimised Huffman tables, sequential and
                   progressive, for RGB with 4:2:0 and with full chroma
    webp           libwebp, qualities 0 to 100, method 6; its chroma is always 4:2:0
    avif           libaom, qualities 0 to 100, speed 6, for RGB with 4:2:0 and with full chroma
    jpeg-xl        libjxl, qualities 0 to 100 (which is lossless), effort 7, without a container
    jpeg-2000      OpenJPEG's raw codestream (.j2k), irreversible 9/7 wavelet and colour transform;
                   its qualities 0 to 100 ask for a PSNR of 20 to 50 dB

Grey images are written as grey where the format can, which is all but WebP. Every encoder works in
one thread, so that their times compare; decoders work as Pillow runs them, AVIF's and JPEG XL's in
as many threads as there are cores. A file's MSE is that of the pixels which its decoder returns.
"""

from kompakt_codec.baselines._codecs import BASELINES, LosslessBaseline, LossyBaseline
from kompakt_codec.baselines._measure import (
    BaselineMeasurement,
    Encoded,
    decode_baseline,
    encode_at_mse,
    encode_lossless,
    measure,
)

__all__ = [
    "BASELINES",
    "BaselineMeasurement",
    "Encoded",
    "LosslessBaseline",
    "LossyBaseline",
    "decode_baseline",
    "encode_at_mse",
    "encode_lossless",
    "measure",
]
