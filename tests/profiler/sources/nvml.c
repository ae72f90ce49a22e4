/* A small NVML with two GPUs: one counts energy, one only tells power.
   FAKE_NVML chooses what is wrong: "", "driver", "permission", "none", "lost". */
#include <stdlib.h>
#include <string.h>

typedef struct { int index; } gpu;
static gpu gpus[2] = {{0}, {1}};
static unsigned long long energy_mj = 5000000ULL;

enum { OK = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };

static int mode(const char *name) {
    const char *set = getenv("FAKE_NVML");
    return set != NULL && strcmp(set, name) == 0;
}

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    return mode("driver") ? DRIVER_NOT_LOADED : mode("permission") ? NO_PERMISSION : OK;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = mode("none") ? 0 : 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, gpu **handle) {
    *handle = &gpus[index];
    return OK;
}
int nvmlDeviceGetName(gpu *g, char *name, unsigned int size) {
    strncpy(name, g->index == 0 ? "Counting GPU" : "Powerful GPU", size);
    return OK;
}
int nvmlDeviceGetUUID(gpu *g, char *uuid, unsigned int size) {
    strncpy(uuid, g->index == 0 ? "GPU-aaaa" : "GPU-bbbb", size);
    return OK;
}
int nvmlDeviceGetTotalEnergyConsumption(gpu *g, unsigned long long *energy) {
    if (g->index != 0) return NOT_SUPPORTED;
    if (mode("lost") && energy_mj > 5000000ULL) return GPU_IS_LOST;
    *energy = energy_mj;
    energy_mj += 1500;
    return OK;
}
int nvmlDeviceGetPowerUsage(gpu *g, unsigned int *power) {
    *power = g->index == 0 ? 77000 : 42500;
    return OK;
}
int nvmlDeviceGetPowerManagementLimit(gpu *g, unsigned int *limit) {
    if (g->index != 0) return NOT_SUPPORTED;
    *limit = 300000;
    return OK;
}
const char *nvmlErrorString(int code) {
    return code == DRIVER_NOT_LOADED ? "Driver Not Loaded"
         : code == NO_PERMISSION ? "Insufficient Permissions"
         : code == GPU_IS_LOST ? "GPU is lost" : "other";
}
