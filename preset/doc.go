// Package preset holds the models of the paper's experiments (arXiv:2105.14103, section 5) as descriptions: which tensors a
// model has, how they start, and what its configuration says. From a description it gives seeded weights, piece by piece.
//
// It owns sizes, names and starting values. What a model computes is reference's business, and who reads these names is
// import/dialect's; neither is known here.
//
// What the paper does not say was decided thus:
//
//   - Byte models have 256 tokens. enwik8 holds 205 different bytes; 256 is every byte there is, so that a model takes any
//     text and needs no table of symbols. CIFAR10's sub-pixels are 256-way in the paper.
//   - The head has its own weights and no bias. The paper shares token embedding and head among red, green and blue, not with
//     each other; Image GPT, whose design it follows, has two matrices and no bias (openai/image-gpt, src/model.py: wte, wtet).
//   - There is no start token: the first token is given, not predicted.
//   - Projections of q, k, v and the output have biases: the paper's parameter counts come out only with them.
//   - LayerNorm adds 1e-5 in language models (PyTorch's default) and 1e-6 in image models (that of DeiT's code).
//   - Weights start as those of the models the paper swaps AFT into: 0.02 for linear maps, as in DeiT and GPT-2; 0.02 and 0.01
//     for the embeddings of tokens and positions, as in Image GPT. Its head starts at 0, which would make every logit 0; here
//     it is 0.02 too.
//   - u and v start as N(0, 10^-2) with 10^-2 the variance, as N is usually written.
package preset
