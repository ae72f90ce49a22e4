/* A small HLML with two Gaudi boards: one counts energy, one only tells power.
   FAKE_HLML chooses what is wrong: "", "driver", "none", "lost" (the second board), "all". */
#include <stdlib.h>
#include <string.h>

static int boards[2] = {0, 1};
static unsigned long long energy_mj = 5000000ULL;
static int reads = 0;

enum { OK = 0, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9, AIP_IS_LOST = 15 };

static int mode(const char *name) {
    const char *set = getenv("FAKE_HLML");
    return set != NULL && strcmp(set, name) == 0;
}

int hlml_init(void) { return mode("driver") ? DRIVER_NOT_LOADED : OK; }
int hlml_device_get_count(unsigned int *count) { *count = mode("none") ? 0 : 2; return OK; }
int hlml_device_get_handle_by_index(unsigned int index, void **handle) {
    *handle = &boards[index];
    return OK;
}
int hlml_device_get_name(int *board, char *name, unsigned int size) {
    strncpy(name, *board == 0 ? "HL-225" : "HL-205", size);
    return OK;
}
int hlml_device_get_uuid(int *board, char *uuid, unsigned int size) {
    strncpy(uuid, *board == 0 ? "01P0-aaaa" : "01P0-bbbb", size);
    return OK;
}
int hlml_device_get_total_energy_consumption(int *board, unsigned long long *energy) {
    if (*board != 0) return NOT_SUPPORTED;
    if (mode("all") && energy_mj > 5000000ULL) return AIP_IS_LOST;
    *energy = energy_mj;
    energy_mj += 1500;
    return OK;
}
int hlml_device_get_power_usage(int *board, unsigned int *power) {
    if (*board == 1 && (mode("lost") || mode("all")) && reads++ > 0) return AIP_IS_LOST;
    *power = *board == 0 ? 77000 : 42500;
    return OK;
}
int hlml_device_get_power_management_default_limit(int *board, unsigned int *limit) {
    if (*board != 0) return NOT_SUPPORTED;
    *limit = 600000;
    return OK;
}
int hlml_device_get_utilization_rates(int *board, unsigned int *percent) {
    if (*board != 0) return NOT_SUPPORTED;
    *percent = 25;
    return OK;
}
