/* vmxnet3_model.c: to be written. */
#include "model.h"

const struct model_ops vmxnet3_model = {.kind = "vmxnet3", .size = sizeof(struct model)};
