/* AFTConv2D: AFTConv1D over a grid (h,w) in raster order, T = h*w: Q (B,T,D), K (B,T,H), V (B,T,D), W (H,kh,kw),
 * grid int64[2]. Position t is row t/w, column t%w; tap (a,b) of head i weighs the source at row y+a-pads[0], column
 * x+b-pads[1]; elsewhere in the grid the bias is 0. Causal limits the sums to t' <= t in raster order and drops the taps
 * after the position. */
#include <inttypes.h>

#include "aft_simd.h"
#include "aft_window.h"

/* (h, w), from wherever the data stands. */
static void read_grid(const aft_call *call, int64_t grid[2]) { memcpy(grid, call->in[4].data, 2 * sizeof *grid); }

static int check_grid(const aft_call *call, int64_t t, char *message) {
  int64_t grid[2];
  if (call->in[4].data == NULL) return AFT_OK; /* known only at run time: aft_run refuses an operand without data */
  read_grid(call, grid);
  int64_t h = grid[0], w = grid[1];
  int empty = h == 0 || w == 0;
  if (h >= 0 && w >= 0 && empty == (t == 0) && (empty || (t % w == 0 && t / w == h))) return AFT_OK;
  return aft_fail(call, message,
                  "input \"grid\": is (%" PRId64 ",%" PRId64 "), want two numbers >= 0 whose product is T = %" PRId64,
                  h, w, t);
}

int aft_conv2d_check(const aft_call *call, char *message) {
  aft_dims dims;
  int rc = aft_check_call(call, &dims, message);
  if (rc == AFT_OK) rc = aft_check_heads(call, &dims, message);
  for (int axis = 0; axis < 2 && rc == AFT_OK; axis++) {
    rc = aft_at_least(call, 3, 1 + axis, 1, "1 tap", message);
    if (rc != AFT_OK) return rc;
    rc = aft_within(call, "pads", call->attrs.pads[axis], 0, call->in[3].dims[1 + axis] - 1, "a tap of W", message);
  }
  if (rc == AFT_OK) rc = aft_exactly(call, 4, 0, 2, "(h, w)", message);
  return rc != AFT_OK ? rc : check_grid(call, aft_dim(&dims, 'T'), message);
}

aft_window aft_conv2d_window(const aft_call *call, void *out) {
  int64_t grid[2];
  read_grid(call, grid);
  const int64_t *kernel = &call->in[3].dims[1];
  aft_window window = {.call = call, .out = out, .rows = (size_t)grid[0], .cols = (size_t)grid[1]};
  window.kernel_rows = (size_t)kernel[0];
  window.kernel_cols = (size_t)kernel[1];
  window.top = (size_t)call->attrs.pads[0];
  window.left = (size_t)call->attrs.pads[1];
  window.w_head = window.kernel_rows * window.kernel_cols;
  window.w_tap_row = window.kernel_cols;
  return window;
}

static int run_double(const aft_call *call, void *out, const aft_host *host, const aft_channels *which) {
  return aft_window_run(aft_conv2d_window(call, out), host, which);
}

int aft_conv2d_run(const aft_call *call, const aft_host *host) {
  return aft_run_simd(call, call->out[0], host, aft_simd_for(host)->conv2d, run_double);
}

/* Nothing is packed: W is small, and a task makes the weights of its channels for several batch entries. */
int aft_conv2d_pack(const aft_simd *simd, const aft_attrs *attrs, const aft_tensor *w, aft_packed **packed) {
  (void)simd, (void)attrs, (void)w, (void)packed;
  return AFT_OK;
}
