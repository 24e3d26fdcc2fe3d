"""Arithmetic, comparison and other elementwise functions."""

from __future__ import annotations

from nnlint.probe_service.operators.base import allow

allow(
    "elementwise on operands that broadcast",
    """
    aten.add.Scalar aten.add.Tensor aten.add_.Scalar aten.add_.Tensor aten.addcdiv.default
    aten.addcdiv_.default aten.addcmul.default aten.addcmul_.default aten.atan2.default
    aten.atan2_.default aten.complex.default aten.copysign.Scalar aten.copysign.Tensor
    aten.cross.default aten.dist.default aten.div.Scalar aten.div.Tensor aten.div_.Scalar
    aten.div_.Tensor aten.divide.Scalar aten.divide.Tensor aten.float_power.Scalar
    aten.float_power.Tensor_Scalar aten.float_power.Tensor_Tensor aten.floor_divide.Scalar
    aten.floor_divide.default aten.floor_divide_.Scalar aten.floor_divide_.Tensor
    aten.fmax.default aten.fmin.default aten.fmod.Scalar aten.fmod.Tensor aten.fmod_.Scalar
    aten.fmod_.Tensor aten.heaviside.default aten.hypot.default aten.hypot_.default
    aten.ldexp.Tensor aten.lerp.Scalar aten.lerp.Tensor aten.lerp_.Scalar aten.lerp_.Tensor
    aten.linalg_cross.default aten.logaddexp.default aten.logaddexp2.default aten.max.other
    aten.maximum.default aten.min.other aten.minimum.default aten.mul.Scalar aten.mul.Tensor
    aten.mul_.Scalar aten.mul_.Tensor aten.multiply.Scalar aten.multiply.Tensor
    aten.nextafter.default aten.polar.default aten.pow.Scalar aten.pow.Tensor_Scalar
    aten.pow.Tensor_Tensor aten.pow_.Scalar aten.pow_.Tensor aten.remainder.Scalar
    aten.remainder.Scalar_Tensor aten.remainder.Tensor aten.remainder_.Scalar
    aten.remainder_.Tensor aten.rsub.Scalar aten.rsub.Tensor aten.sub.Scalar aten.sub.Tensor
    aten.sub_.Scalar aten.sub_.Tensor aten.subtract.Scalar aten.subtract.Tensor
    aten.true_divide.Scalar aten.true_divide.Tensor aten.xlogy.Scalar_Other
    aten.xlogy.Scalar_Self aten.xlogy.Tensor
    """,
)
allow(
    "elementwise division, rounded as one of two words says",
    """
    aten.div.Scalar_mode aten.div.Tensor_mode aten.div_.Scalar_mode aten.div_.Tensor_mode
    aten.divide.Scalar_mode aten.divide.Tensor_mode
    """,
    words=("floor", "trunc"),
)
allow(
    "elementwise: each result comes from the element in its place",
    """
    aten._conj.default aten.abs.default aten.abs_.default aten.absolute.default
    aten.acos.default aten.acos_.default aten.acosh.default aten.acosh_.default
    aten.angle.default aten.arctan.default aten.arctanh.default aten.asin.default
    aten.asin_.default aten.asinh.default aten.asinh_.default aten.atan.default
    aten.atan_.default aten.atanh.default aten.atanh_.default aten.ceil.default
    aten.ceil_.default aten.clamp.Tensor aten.clamp.default aten.clamp_.Tensor
    aten.clamp_.default aten.clamp_max.Tensor aten.clamp_max.default aten.clamp_max_.Tensor
    aten.clamp_max_.default aten.clamp_min.Tensor aten.clamp_min.default
    aten.clamp_min_.Tensor aten.clamp_min_.default aten.clip.Tensor aten.clip.default
    aten.clip_.default aten.conj.default aten.conj_physical.default aten.cos.default
    aten.cos_.default aten.cosh.default aten.cosh_.default aten.deg2rad.default
    aten.digamma.default aten.digamma_.default aten.erf.default aten.erf_.default
    aten.erfc.default aten.erfc_.default aten.erfinv.default aten.erfinv_.default
    aten.exp.default aten.exp2.default aten.exp2_.default aten.exp_.default
    aten.expm1.default aten.expm1_.default aten.fix.default aten.floor.default
    aten.floor_.default aten.frac.default aten.frac_.default aten.i0.default
    aten.lgamma.default aten.lgamma_.default aten.log.default aten.log10.default
    aten.log10_.default aten.log1p.default aten.log1p_.default aten.log2.default
    aten.log2_.default aten.log_.default aten.logit.default aten.logit_.default
    aten.mvlgamma.default aten.nan_to_num.default aten.nan_to_num_.default aten.neg.default
    aten.neg_.default aten.negative.default aten.polygamma.default aten.positive.default
    aten.rad2deg.default aten.reciprocal.default aten.reciprocal_.default
    aten.round.decimals aten.round.default aten.round_.default aten.rsqrt.default
    aten.rsqrt_.default aten.sgn.default aten.sign.default aten.sign_.default
    aten.sin.default aten.sin_.default aten.sinc.default aten.sinc_.default
    aten.sinh.default aten.sinh_.default aten.special_digamma.default
    aten.special_entr.default aten.special_erf.default aten.special_erfc.default
    aten.special_erfcx.default aten.special_erfinv.default aten.special_exp2.default
    aten.special_expit.default aten.special_expm1.default aten.special_gammaln.default
    aten.special_i0.default aten.special_i0e.default aten.special_i1.default
    aten.special_i1e.default aten.special_log1p.default aten.special_log_ndtr.default
    aten.special_logit.default aten.special_ndtr.default aten.special_ndtri.default
    aten.special_sinc.default aten.special_xlog1py.default aten.special_xlogy.default
    aten.sqrt.default aten.sqrt_.default aten.square.default aten.square_.default
    aten.tan.default aten.tan_.default aten.trunc.default aten.trunc_.default
    """,
)
allow(
    "elementwise comparison",
    """
    aten.eq.Scalar aten.eq.Tensor aten.eq_.Scalar aten.eq_.Tensor aten.ge.Scalar
    aten.ge.Tensor aten.ge_.Scalar aten.ge_.Tensor aten.greater.Scalar aten.greater.Tensor
    aten.greater_equal.Scalar aten.greater_equal.Tensor aten.gt.Scalar aten.gt.Tensor
    aten.gt_.Scalar aten.gt_.Tensor aten.isclose.default aten.isfinite.default
    aten.isin.Scalar_Tensor aten.isin.Tensor_Scalar aten.isin.Tensor_Tensor
    aten.isinf.default aten.isnan.default aten.isneginf.default aten.isposinf.default
    aten.isreal.default aten.le.Scalar aten.le.Tensor aten.le_.Scalar aten.le_.Tensor
    aten.less.Scalar aten.less.Tensor aten.less_equal.Scalar aten.less_equal.Tensor
    aten.lt.Scalar aten.lt.Tensor aten.lt_.Scalar aten.lt_.Tensor aten.ne.Scalar
    aten.ne.Tensor aten.ne_.Scalar aten.ne_.Tensor aten.not_equal.Scalar
    aten.not_equal.Tensor aten.signbit.default
    """,
)
allow(
    "elementwise logic",
    """
    aten.__and__.Scalar aten.__and__.Tensor aten.__iand__.Tensor aten.__ior__.Tensor
    aten.__ixor__.Tensor aten.__lshift__.Scalar aten.__lshift__.Tensor aten.__or__.Scalar
    aten.__or__.Tensor aten.__rshift__.Scalar aten.__rshift__.Tensor aten.__xor__.Scalar
    aten.__xor__.Tensor aten.bitwise_and.Scalar aten.bitwise_and.Tensor
    aten.bitwise_and_.Scalar aten.bitwise_and_.Tensor aten.bitwise_left_shift.Tensor
    aten.bitwise_left_shift.Tensor_Scalar aten.bitwise_not.default aten.bitwise_not_.default
    aten.bitwise_or.Scalar aten.bitwise_or.Tensor aten.bitwise_or_.Scalar
    aten.bitwise_or_.Tensor aten.bitwise_right_shift.Tensor
    aten.bitwise_right_shift.Tensor_Scalar aten.bitwise_xor.Scalar aten.bitwise_xor.Tensor
    aten.bitwise_xor_.Scalar aten.bitwise_xor_.Tensor aten.logical_and.default
    aten.logical_and_.default aten.logical_not.default aten.logical_not_.default
    aten.logical_or.default aten.logical_or_.default aten.logical_xor.default
    aten.logical_xor_.default
    """,
)
allow(
    "picks between elements in the same place",
    """
    aten.masked_fill.Scalar aten.masked_fill.Tensor aten.masked_fill_.Scalar
    aten.masked_fill_.Tensor aten.where.Scalar aten.where.ScalarOther aten.where.ScalarSelf
    aten.where.self
    """,
)
