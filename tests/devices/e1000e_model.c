/* e1000e_model.c: to be written. */
#include "model.h"

const struct model_ops e1000e_model = {.kind = "e1000e", .size = sizeof(struct model)};
