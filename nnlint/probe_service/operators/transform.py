"""Discrete Fourier transforms, and the linear algebra that layers use."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "transforms along existing dimensions; torch refuses lengths below one",
    """
    aten.fft_fftfreq.default aten.fft_fftshift.default aten.fft_ifftshift.default
    aten.fft_rfftfreq.default
    """,
)
allow(
    "transforms along existing dimensions, scaled as one of three words says",
    """
    aten.fft_fft.default aten.fft_fft2.default aten.fft_fftn.default aten.fft_hfft.default
    aten.fft_ifft.default aten.fft_ifft2.default aten.fft_ifftn.default
    aten.fft_ihfft.default aten.fft_irfft.default aten.fft_irfft2.default
    aten.fft_irfftn.default aten.fft_rfft.default aten.fft_rfft2.default
    aten.fft_rfftn.default
    """,
    words=("forward", "backward", "ortho"),
)
allow(
    "a short-time transform of windows inside the signal",
    """
    aten.stft.default
    """,
)
allow(
    "padded as one of a few words says",
    """
    aten.stft.center
    """,
    words=("constant", "reflect", "replicate", "circular"),
)
allow(
    "linear algebra on square matrices; torch compares the sizes",
    """
    aten.det.default aten.inverse.default aten.linalg_cholesky.default
    aten.linalg_det.default aten.linalg_householder_product.default aten.linalg_inv.default
    aten.linalg_matrix_exp.default aten.linalg_matrix_power.default
    aten.linalg_slogdet.default aten.linalg_solve.default
    aten.linalg_solve_triangular.default aten.logdet.default aten.matrix_exp.default
    """,
)
allow(
    "a factorisation named by one of three words",
    """
    aten.linalg_qr.default
    """,
    words=("reduced", "complete", "r"),
)
allow(
    "of one triangle of a symmetric matrix",
    """
    aten.linalg_eigh.default
    """,
    words=("L", "U"),
)
allow(
    "by one of three algorithms",
    """
    aten.linalg_svd.default aten.linalg_svdvals.default
    """,
    words=("gesvd", "gesvdj", "gesvda"),
)
