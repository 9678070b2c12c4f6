"""Network families. Generators map z (n, nz) and labels y (n,) to (n, *shape); critics map x to (n, 1 + num_classes).

Column 0 of a critic is f(x), the rest are AC-GAN logits. Images are in [-1, 1]. `shape` and `num_classes` come from
the data, everything else from conf/generator and conf/critic.
"""
