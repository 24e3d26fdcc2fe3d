"""What the name of a parameter or option usually means."""

from __future__ import annotations

import enum
import fnmatch
import functools
import re


class Kind(enum.Enum):
    """A meaning that many models share; the value is the names that have it, as globs.

    Names are in snake case, without "num_" and its like in front and without digits at the end.
    The first kind with a name that fits counts, so the order matters: narrow ones come first.
    """

    OPTIONS = """
        args arg opt opts option options cfg conf config configs configuration hparams hparam hps
        hyperparams hyper_params hyperparameters params parameters flags settings setting
        *_args *_opt *_options *_cfg *_conf *_config *_params *_hparams *_settings"""
    DEVICE = "device devices gpu gpus cuda *_device device_id device_ids gpu_id gpu_ids ngpu"
    DTYPE = "dtype *_dtype"
    PATH = """
        path dir file folder filename ckpt checkpoint url *_path *_dir *_file *_folder *_ckpt
        *_checkpoint *_url"""
    BATCH = "batch bs bsz batch_size batchsize *_batch_size"
    EPSILON = "eps epsilon tol *_eps *_epsilon"
    TABLE = """
        *_to_ix *_to_idx *_to_id *_to_index *2idx *2id *2ix *2index *_to_int stoi itos *_dict *_map
        *_mapping tokenizer tokeniser vocabulary dictionary lookup *_tokenizer *_vocabulary"""
    INDEX = """
        pad_idx pad_id pad_index pad_token pad_token_id padding_idx *_pad_idx *_pad_id *_idx *_index
        *_id *_token_id bos_token eos_token sos_token eos bos sos idx index id rank layer_number"""
    FLAG = """
        use_* is_* has_* with_* if_* do_* no_* return_* enable_* apply_* add_* only_* freeze_* learn_*
        share_* tie_* include_* keep_* need_* bias bidirectional bi pretrained inplace residual
        batch_first training train causal affine verbose debug flag bn batch_norm batchnorm normalize
        normalise bilinear deconv skip se shortcut bidir aux_logits tied transposed upsample last
        first final outermost innermost deterministic dueling noisy mask sparse variational
        stochastic ceil_mode half concat *_bias *_flag *_bn *_first *_pretrained *_norm_first"""
    ACTIVATION = """
        act actv activ activation nonlinearity non_linearity nonlin nl relu act_* activation_*
        *_act *_activation *_nonlinearity nonlinearity_* nl_*"""
    NORM = """
        norm normalization normalisation norm_* normalization_* bn_layer bn_type bn_func *_norm
        *_norm_layer *_normalization"""
    POOL = "pool pooling pool_* pooling_* *_pool *_pooling aggregator aggr readout"
    CELL = (
        "rnn cell rnn_type rnn_cell cell_type rnn_name rnn_module cell_name recurrent_* *_rnn_type"
    )
    CONVOLUTION = "conv conv_layer conv_fn conv_func conv_type conv_op conv_module conv_class"
    PATCH = "patch patch_size patch_dim patch_len patch_length *_patch_size p_size"
    SHAPE = """
        shape *_shape input_dims in_dims observation_space action_space obs_space"""
    IMAGE = """
        im img image height width_px *_img *_image im_size imsize img_size image_size image_dim
        img_dim input_size_hw crop_size crop map_size spatial_size grid_size frame_size resolution
        *_resolution *_image_size *_img_size img_height img_width image_height image_width img_h
        img_w im_height im_width *_height input_h input_w"""
    TENSOR = """
        weight weights matrix mat adj adjacency anchor anchors prior priors edge_index edges graph
        laplacian pos_weight class_weight class_weights mean vectors embeddings_matrix
        embedding_matrix *_matrix *_weights *_vectors *_embeddings embeddings *_adj *_mat *_anchors centers
        centroids prototypes supports support pretrained_*"""
    LOSS = "loss criterion criterion_* loss_fn loss_func loss_fcn loss_function *_loss *_criterion"
    VOCABULARY = """
        vocab voc words word tokens token ntoken ntokens chars char items users entities relations
        embeddings symbols nodes vocab_size voc_size vocb_size vocabulary_size dict_size word_size
        word_num token_size item_size user_size item_num user_num entity_num alphabet_size
        category_size codebook_size *_vocab *_vocab_size *_voc_size *_vocab_len vocab_len *_vocab_num
        input_voc_size *_words *_tokens n_voc nvocab num_embeddings"""
    CLASSES = """
        class classes cls label labels tag tags category categories target_classes class_num
        class_size class_count label_size label_num tag_size tagset_size target_size nclass nclasses
        ncls classes_num *_classes *_class_num *_labels *_tags tasks nlabels nb_class k_classes"""
    HEADS = "head heads *_head *_heads nhead nheads head_num head_count h"
    RATE = """
        drop dropout dropouts p prob rate keep_prob pdrop drop_* dropout_* *_drop *_dropout
        *_dropouts *_dropout_rate *_dropout_prob *_prob *_pdrop p_drop* droppath dprob *_drop_rate"""
    REDUCTION = """
        reduction reduction_* squeeze_factor squeeze_ratio compression bottleneck_factor
        bottleneck_ratio shrink downsample_factor downsample_ratio r *_reduction *_reduction_ratio"""
    EXPANSION = """
        expansion expand expand_ratio expansion_* mlp_ratio multiplier width_mult width_multiplier
        width_factor widen_factor depth_multiplier mult ratio upscale upscale_factor up_factor
        scale_factor upsample_* growth_factor t e *_ratio *_mult *_multiplier *_expansion"""
    KERNEL = """
        kernel kernels kernel_size kernel_sizes kernel_width ksize k_size ks ker filter_size
        filter_sizes window_size win_size k kw kh filter_width *_kernel *_kernel_size *_ksize
        *_window_size"""
    STRIDE = "stride strides s *_stride *_strides stride_size"
    PADDING = "pad pads padding paddings *_pad *_padding pad_size padding_size *_padding_size"
    DILATION = "dilation dilations dilate atrous_rate atrous_rates dil *_dilation *_dilations"
    GROUPS = "group groups g cardinality *_groups"
    LENGTH = """
        len length lengths seq seq_len seqlen max_len maxlen sequence_length *_len *_length
        *_lengths block_size context_size ctx_size context window memory_size sequence_size
        sentence_size horizon lookback steps timesteps time_steps positions ctx frames points
        samples elements fields max_position* *_steps *_frames *_points *_positions max_seq*
        *_fields"""
    DEPTH = """
        layer layers blocks stage stages stack stacks level levels scales downs ups cells
        depth depths hops branch branches modules experts flows iters iterations repeats resblocks
        nlayer nlayers nblocks nl n layer_num block_num *_layer *_layers *_blocks *_stages *_stacks
        *_levels *_depth *_depths *_scales *_downs *_modules *_iters *_repeats order layers_num"""
    FACTOR = """
        alpha beta gamma lambda lambd lmbda temperature temp tau scale scaling gain sigma std var lr
        momentum decay margin threshold thresh slope coef coeff weight_decay w0 omega init_value
        init_values init_w learning_rate discount delta noise clip bound limit range max_action
        action_bound action_scale action_range action_limit *_alpha *_beta *_gamma *_temperature
        *_scale *_coef *_coeff *_weight *_std *_init *_threshold *_thresh *_margin *_lr *_factor"""
    BLOCK = """
        bottleneck block class_ layer_class block_* basic_block unit builder factory layer_type layer_fn
        layer_func fn func function *_block *_cls *_class *_fn *_func *_builder"""
    TEXT = """
        mode type method name arch architecture kind style variant version phase init fusion strategy
        merge encoding task objective initialization dataset score str string format split *_mode
        *_type *_method *_name *_arch *_kind *_style *_variant *_version *_strategy"""
    INPUTS = """
        ch chs chan chans channel channels nc planes in_channel in_channels in_chans in_ch in_chs
        input_channel input_channels input_ch input_nc in_nc in_planes in_c c_in ic inp inplanes
        filters_in img_channels image_channels img_channel nchannels n_c color_channels in_bands
        bands *_in_channels icol channels_in n_channels_in input_planes inchannel inchannels"""
    MODULE = """
        backbone encoder decoder model net network base generator discriminator submodule sub_module
        module attn attention self_attn src_attn feed_forward ff ffn classifier trunk stem extractor
        body embedder src_embed tgt_embed actor critic policy teacher student projector neck
        downsample upsampler mixer controller transform
        embedding embed *_encoder *_decoder *_net *_network *_module *_backbone *_extractor
        *_embedder *_classifier *_discriminator *_generator *_fusion unet vae transformer"""
    SIZE = """
        dim dims hidden hid size sizes sz width widths feature features feat feats filter filters
        units neurons ngf ndf nf dff dk dv oup out output outputs input inputs latent nz z nhid ninp
        nhidden rank state states action actions obs observation fc maps capacity growth_rate inner
        inter mid middle code c d m nin nout in bins factor factors basis slots mixture mixtures
        components topics clusters codes nfeat w i o j v l f b x y *dim *_dims *_hidden *hidden
        *hiddens *_size *_sizes *size *_width *_widths *_feature *_features *feats *_planes *planes
        *_channel *_channels *channels *channel *_ch *_chs *_filter *_filters *_units *_neurons
        *_embed *_embd embd emb *_emb d_* *_dim_* *_out *_output *_outputs *_in *_inputs *_input
        *_state *_action *_nc *_latent *_c c_* *_maps *_dim *_mid filters_out *_codes *_d *_nf"""


@functools.cache
def kinds_of(name: str) -> tuple[Kind, ...]:
    """Return what a name may mean, the likeliest first."""
    words = core(name)
    found = tuple(kind for kind, pattern in _patterns() if pattern.fullmatch(words))
    if not is_count(name):
        return found
    return tuple(kind for kind in found if kind not in _NO_COUNTS) or (Kind.DEPTH,)


def is_weak(name: str) -> bool:
    """Tell whether a name says less than what the value is used for."""
    kinds = kinds_of(name)
    return len(core(name)) < 2 or not kinds or kinds[0] is Kind.SIZE


@functools.cache
def core(name: str) -> str:
    """Return the part of a name that tells its meaning: "hidden" of `nHidden1`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    word = spaced.lower().strip("_").rstrip("0123456789_")
    return re.sub(r"^(num|n|nb|no|nr|number|total)_(of_)?(?=..)", "", word) or name.lower()


def is_count(name: str) -> bool:
    """Tell whether a name says that it is a number of things: `num_layers`, `nBlocks`."""
    return bool(re.match(r"_*(num|n|nb|nr|number|total)(_|[A-Z])", name))


# What is never meant by a number of things.
_NO_COUNTS = frozenset({
    Kind.OPTIONS, Kind.DTYPE, Kind.PATH, Kind.TABLE, Kind.FLAG, Kind.ACTIVATION, Kind.NORM,
    Kind.LOSS, Kind.POOL, Kind.CELL, Kind.CONVOLUTION, Kind.SHAPE, Kind.BLOCK, Kind.TEXT, Kind.TENSOR,
    Kind.MODULE,
})  # fmt: skip


@functools.cache
def _patterns() -> tuple[tuple[Kind, re.Pattern[str]], ...]:
    return tuple(
        (kind, re.compile("|".join(fnmatch.translate(word) for word in kind.value.split())))
        for kind in Kind
    )
