"""Reductions, order, and running sums."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "reduces existing dimensions",
    """
    aten.all.default aten.all.dim aten.all.dims aten.amax.default aten.amin.default
    aten.aminmax.default aten.any.default aten.any.dim aten.any.dims aten.argmax.default
    aten.argmin.default aten.corrcoef.default aten.count_nonzero.default
    aten.count_nonzero.dim_IntList aten.cov.default aten.logsumexp.default aten.max.default
    aten.max.dim aten.mean.default aten.mean.dim aten.median.default aten.median.dim
    aten.min.default aten.min.dim aten.mode.default aten.nanmean.default
    aten.nanmedian.default aten.nanmedian.dim aten.nansum.default aten.prod.default
    aten.prod.dim_int aten.special_logsumexp.default aten.std.correction aten.std.default
    aten.std.dim aten.std_mean.correction aten.std_mean.default aten.std_mean.dim
    aten.sum.default aten.sum.dim_IntList aten.sum_to_size.default aten.trace.default
    aten.trapezoid.dx aten.trapezoid.x aten.trapz.dx aten.trapz.x aten.var.correction
    aten.var.default aten.var.dim aten.var_mean.correction aten.var_mean.default
    aten.var_mean.dim
    """,
)
allow(
    "runs along one existing dimension",
    """
    aten.cummax.default aten.cummin.default aten.cumprod.default aten.cumprod_.default
    aten.cumsum.default aten.cumsum_.default aten.cumulative_trapezoid.dx
    aten.cumulative_trapezoid.x aten.diff.default aten.logcumsumexp.default
    """,
)
allow(
    "sorts; a number of elements beyond the dimension is refused",
    """
    aten.argsort.default aten.argsort.stable aten.kthvalue.default aten.msort.default
    aten.sort.default aten.sort.stable aten.topk.default
    """,
)
allow(
    "reads between sorted elements, as one of five words says",
    """
    aten.nanquantile.default aten.nanquantile.scalar aten.quantile.default
    aten.quantile.scalar
    """,
    words=("linear", "lower", "higher", "midpoint", "nearest"),
)
allow(
    "distances between rows of equal length",
    """
    aten.cdist.default aten.pdist.default
    """,
)
allow(
    "counts elements in equal parts of a range",
    """
    aten.histc.default
    """,
)
