/* virtio_net_model.c: to be written. */
#include "model.h"

const struct model_ops virtio_net_model = {.kind = "virtio_net", .size = sizeof(struct model)};
