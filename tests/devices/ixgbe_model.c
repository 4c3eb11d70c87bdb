/* ixgbe_model.c: to be written. */
#include "model.h"

const struct model_ops ixgbe_model = {.kind = "ixgbe", .size = sizeof(struct model)};
