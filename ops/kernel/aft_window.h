/* The sums of the operators whose bias lives in a window: AFTLocal, AFTConv1D, AFTConv2D. */
#ifndef AFT_WINDOW_H
#define AFT_WINDOW_H

#include "aft_internal.h"

/* T = rows * cols positions in raster order; a sequence is one row. Tap (a,b) of the window of position (y,x) weighs the
 * source (y+a-top, x+b-left) with exp(bias); every other source of the grid counts with bias 0. Causal limits the sources
 * to those at or before the position in raster order.
 *
 * The bias of tap (a,b) for position t and head h is element
 * w_first + t*w_position + h*w_head + a*w_tap_row + b of W. */
typedef struct {
  const aft_call *call;
  void *out;
  size_t rows, cols;
  size_t kernel_rows, kernel_cols, top, left;
  size_t w_first, w_position, w_head, w_tap_row;
} aft_window;

/* The windows of the operators: their attributes and W, and for AFTConv2D the grid. */
aft_window aft_local_window(const aft_call *call, void *out);
aft_window aft_conv1d_window(const aft_call *call, void *out);
aft_window aft_conv2d_window(const aft_call *call, void *out);

/* Cuts the kernel to the taps that some position of the grid can use. */
void aft_window_cut(aft_window *window);

/* Y = gate(Q) * sum exp(K + bias) V / sum exp(K + bias), in double, in O(B T (kernel_rows*kernel_cols + kernel_rows) D). */
int aft_window_run(aft_window window, const aft_host *host, const aft_channels *which);

/* Y of one (b,t,d) of a window of one row by the exact path, in double, from all logits: O(T). */
void aft_window_exact(const aft_window *window, size_t batch, size_t t, size_t d);

#endif
