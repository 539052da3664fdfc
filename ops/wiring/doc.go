// Package wiring says how a model is written in ONNX: which standard operators stand around its ai.aft nodes, what their
// values are called, and which learned weights they read. Build gives the graph of a reference model without the data of its
// weights.
//
// One place says it, and both directions use it: package export writes what Build gives; the importer reads a file back by
// building the graph that its weights ask for and comparing, node by node. What neither expects cannot slip through.
//
// The names, N being a block's number:
//
//	x | input_ids | pixel_values, grid, attention_mask        inputs
//	embed.weight, positions.weight                            a language model's embedding -> embedded
//	patch.weight, patch.bias, class_token, positions.weight   an image model's -> embedded
//	layers.N.norm1.{weight,bias}                              -> layers.N.norm1
//	layers.N.{q,k,v}.{weight,bias}, layers.N.w                -> layers.N.{q,k,v}, layers.N.aft
//	layers.N.out.{weight,bias}                                -> layers.N.out, and with x added layers.N.h
//	layers.N.norm2, layers.N.fc1, layers.N.fc2                -> layers.N.{norm2,fc1,gelu,fc2}
//	norm.{weight,bias}, head.{weight,bias}                    -> norm, pooled
//	y | logits                                                outputs
//
// What leaves a block is layers.N.y; in a model without a norm and a head the last one is y.
//
// The package knows operators and reference models. It must not know files, function bodies or how weights are rounded.
package wiring
