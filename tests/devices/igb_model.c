/* igb_model.c: to be written. */
#include "model.h"

const struct model_ops igb_model = {.kind = "igb", .size = sizeof(struct model)};
