"""The tags under which a run logs, with their meaning. TensorBoard shows them; metrics.jsonl has the scalars."""

SCALARS = {
    "critic/loss": "the critic's loss with the penalty, at the last penalised critic update",
    "critic/wasserstein": "E[f(real)] - E[f(fake)], which the critic maximises: not the Wasserstein distance",
    "critic/penalty": "the penalty, times its weight",
    "critic/gradient_norm": "mean norm of the critic's gradient at interpolates; about 1 with penalty=wgan_gp",
    "critic/real": "E[f(real)]; its level has no meaning",
    "critic/fake": "E[f(fake)]; its level has no meaning",
    "critic/weight_gradient_norm": "norm of the gradient in all critic weights",
    "generator/loss": "the generator's loss, -E[f(fake)] in a WGAN; its level has no meaning",
    "generator/weight_gradient_norm": "norm of the gradient in all generator weights",
    "penalty/weight": "the weight, which a schedule may change",
    "throughput/images_per_second": "real images that the critic has seen, per second",
    "throughput/steps_per_second": "generator updates per second",
}
VALIDATION = {  # scalars of runs with held-out data
    "validation/critic_loss": "the critic's loss on held-out samples",
    "validation/accuracy": "with labels: share of held-out samples whose class the critic names",
    "validation/content": "with a content term: that of held-out samples, without its weight",
}
HISTOGRAMS = {"critic/gradient_norms": "the histogram of these norms, of which critic/gradient_norm is the mean"}
IMAGES = {
    "samples": "pictures: a grid of samples; for points a scatter over the critic's level sets; for clips a filmstrip",
    "film": "of clips: 64 samples that move, a GIF of 10 frames a second",
}
