/* A small NVML for tests, with the entry points that we call, by NVIDIA's nvml.h (R590).

   GPU 0 counts energy; GPU 1 only tells power. The environment chooses, at every call, so that a
   test can change its mind:

   FAKE_NVML            words separated by commas:
     driver mismatch permission none    the library does not come up, or shows no GPU
     lost0 lost1                        a GPU is lost; after its return old handles stay lost
     denied0 denied1                    a GPU of others
     dark1                              GPU 1 has no power sensor either
     nofields ampere                    an old driver without power fields; GPU 1 averages
     module scopeless                   a Grace Hopper module; a driver that ignores the scope
     mig nogpm gpmdenied                GPU 0 is cut in three; no activity of instances
     utildenied utilunsupported         processes tell no utilisation
     garbage norates exclusive          nonsense samples; no rates; one process at a time
     pulses                             GPU 0 works for 8 s and rests for 8 s, by its clock: 200 W
                                        more, and the percentages; at rest all are 0
     display                            something else, never sampled, keeps GPU 0 40 % busy
     slowed                             heat slows GPU 0 down for a quarter of its time
   FAKE_NVML_PROCESSES  GPU 0, "pid:percent:type", type C compute, M client or S server of MPS;
                        percent "-": runs, but without a sample
   FAKE_NVML_ACTIVITY   percent of SMs busy of each GPU instance, "1:80,2:50"
   FAKE_NVML_CLOCK      seconds; without it, the machine's monotonic clock

   Power of GPU 0 is what fake_power_mw() was told last, at first 50 W. Counter, instant and
   averaged power follow from that history and are renewed every 100, 20 and 20 ms. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, LIB_RM_VERSION_MISMATCH = 18
};
enum { POLICY_THERMAL = 75, POWER_AVERAGE = 185, POWER_INSTANT = 186, POWER_MAX_LIMIT = 188 };

typedef struct { int index; unsigned generation; int mig; } gpu;
typedef struct { unsigned pid; unsigned long long memory; unsigned gi, ci; } process_info;
typedef struct { unsigned pid; unsigned long long time_us; unsigned sm, mem, enc, dec; } util_sample;
typedef union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; } value;
typedef struct {
    unsigned field, scope; long long time_us, latency_us; unsigned type, result; value value;
} field_value;
typedef struct {
    unsigned sms, copy, decoders, encoders, jpeg, ofa, gi_slices, ci_slices;
    unsigned long long memory_mb;
} attributes;
typedef struct { unsigned gpu, memory; } rates;
typedef struct { unsigned version, supported; } gpm_support;
typedef struct { double time_s, busy_s; } gpm_sample;
typedef struct {
    unsigned id, result; double value; struct { char *short_name, *long_name, *unit; } info;
} gpm_metric;
typedef struct { unsigned version, count; gpm_sample *first, *second; gpm_metric metrics[]; } gpm_query;

static const struct { const char *uuid, *name; unsigned gi, gi_slices, ci_slices; } migs[] = {
    {"MIG-aaaa", "Counting GPU MIG 3g.40gb", 1, 3, 3},
    {NULL, NULL, 0, 0, 0}, /* indices have holes */
    {"MIG-bbbb", "Counting GPU MIG 1c.2g.20gb", 2, 2, 1},
    {"MIG-cccc", "Counting GPU MIG 1c.2g.20gb", 2, 2, 1},
};
enum { MIGS = 4, MOST_MIGS = 7 };

static gpu handles[64];
static unsigned used, generations[2];
static struct { double time_s; unsigned mw; } history[8192] = {{0.0, 50000}};
static unsigned changes = 1;

static int has(const char *word) {
    const char *set = getenv("FAKE_NVML");
    size_t length = strlen(word);
    for (; set != NULL && *set; set = strchr(set, ',') ? strchr(set, ',') + 1 : NULL)
        if (strncmp(set, word, length) == 0 && (set[length] == 0 || set[length] == ',')) return 1;
    return 0;
}
static double now_s(void) {
    const char *set = getenv("FAKE_NVML_CLOCK");
    struct timespec t;
    if (set != NULL) return atof(set);
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static double tick(double time_s, double period_s) {
    return period_s * (double)(long long)(time_s / period_s + 1e-6);
}
static double worked_s(double time_s) {
    double whole = (double)(long long)(time_s / 16), part_s = time_s - 16 * whole;
    return 8 * whole + (part_s < 8 ? part_s : 8);
}
static int rests(double time_s) { return has("pulses") && time_s - 16 * (double)(long long)(time_s / 16) >= 8; }
static double energy_j(double time_s) {
    double sum = has("pulses") ? 200 * worked_s(time_s) : 0;
    for (unsigned i = 0; i < changes && history[i].time_s < time_s; i++) {
        double end_s = i + 1 < changes && history[i + 1].time_s < time_s ? history[i + 1].time_s : time_s;
        sum += 1e-3 * history[i].mw * (end_s - history[i].time_s);
    }
    return sum;
}
static unsigned power_mw(double time_s) {
    unsigned mw = history[0].mw;
    for (unsigned i = 0; i < changes && history[i].time_s <= time_s; i++) mw = history[i].mw;
    return mw + (has("pulses") && !rests(time_s) ? 200000 : 0);
}
void fake_power_mw(unsigned mw) {
    if (changes == sizeof history / sizeof *history) abort();
    history[changes].time_s = now_s();
    history[changes++].mw = mw;
}

/* What a test compares with the binding's own idea of these structures. */
unsigned fake_size(const char *name) {
    static const struct { const char *name; size_t size; } sizes[] = {
        {"c_nvmlProcessInfo_v3_t", sizeof(process_info)},
        {"c_nvmlProcessUtilizationSample_t", sizeof(util_sample)},
        {"c_nvmlFieldValue_t", sizeof(field_value)},
        {"c_nvmlDeviceAttributes", sizeof(attributes)},
        {"c_nvmlUtilization_t", sizeof(rates)},
        {"c_nvmlGpmSupport_t", sizeof(gpm_support)},
        {"c_nvmlGpmMetric_t", sizeof(gpm_metric)},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (strcmp(sizes[i].name, name) == 0) return (unsigned)sizes[i].size;
    return 0;
}

/* A lost GPU comes back as a new generation: what was held before stays lost. */
static int alive(const gpu *g) {
    if (g == NULL) return INVALID_ARGUMENT;
    if (has(g->index == 0 ? "lost0" : "lost1")) {
        if (g->generation == generations[g->index]) generations[g->index]++;
        return GPU_IS_LOST;
    }
    return g->generation == generations[g->index] ? OK : GPU_IS_LOST;
}
static int hand(int index, int mig, gpu **handle) {
    if (has(index == 0 ? "denied0" : "denied1")) return NO_PERMISSION;
    if (has(index == 0 ? "lost0" : "lost1")) return GPU_IS_LOST;
    for (unsigned i = 0; i < used; i++) {
        gpu *old = &handles[i];
        if (old->index == index && old->mig == mig && old->generation == generations[index]) {
            *handle = old;
            return OK;
        }
    }
    if (used == sizeof handles / sizeof *handles) abort();
    handles[used] = (gpu){index, generations[index], mig};
    *handle = &handles[used++];
    return OK;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return has("driver") ? DRIVER_NOT_LOADED : has("permission") ? NO_PERMISSION
         : has("mismatch") ? LIB_RM_VERSION_MISMATCH : OK;
}
int nvmlShutdown(void) { return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = has("none") ? 0 : 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu **handle) {
    return index < 2 ? hand((int)index, -1, handle) : INVALID_ARGUMENT;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, gpu **handle) {
    return strcmp(uuid, "GPU-aaaa") == 0 ? hand(0, -1, handle)
         : strcmp(uuid, "GPU-bbbb") == 0 ? hand(1, -1, handle) : NOT_FOUND;
}
int nvmlDeviceGetName(gpu *g, char *name, unsigned size) {
    const char *whole = g->index == 0 ? "Counting GPU" : "Powerful GPU";
    snprintf(name, size, "%s", g->mig < 0 ? whole : migs[g->mig].name);
    return alive(g);
}
int nvmlDeviceGetUUID(gpu *g, char *uuid, unsigned size) {
    const char *whole = g->index == 0 ? "GPU-aaaa" : "GPU-bbbb";
    snprintf(uuid, size, "%s", g->mig < 0 ? whole : migs[g->mig].uuid);
    return alive(g);
}
int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    snprintf(text, size, "590.00");
    return OK;
}
int nvmlDeviceGetCudaComputeCapability(gpu *g, int *major, int *minor) {
    *major = g->index == 0 ? 9 : has("ampere") ? 8 : 6;
    *minor = g->index == 1 && has("ampere") ? 6 : 0;
    return alive(g);
}
int nvmlDeviceGetTotalEnergyConsumption(gpu *g, unsigned long long *energy) {
    if (g->index != 0) return alive(g) == OK ? NOT_SUPPORTED : GPU_IS_LOST;
    *energy = (unsigned long long)(1e3 * energy_j(tick(now_s(), 0.1)));
    return alive(g);
}
static unsigned read_mw(const gpu *g, int averaged) {
    double time_s = tick(now_s(), 0.02);
    if (g->index != 0) return 42500;
    if (!averaged) return power_mw(time_s);
    return (unsigned)(1e3 * (energy_j(time_s) - energy_j(time_s > 1 ? time_s - 1 : 0)));
}
int nvmlDeviceGetPowerUsage(gpu *g, unsigned *power) {
    if (g->index == 1 && has("dark1")) return NOT_SUPPORTED;
    *power = read_mw(g, 1);
    return alive(g);
}
int nvmlDeviceGetPowerManagementLimit(gpu *g, unsigned *limit) {
    if (g->index != 0) return NOT_SUPPORTED;
    *limit = 300000;
    return alive(g);
}
static void answer(const gpu *g, field_value *v) {
    int module = v->scope == 1 && !has("scopeless");
    int dark = g->index == 1 && has("dark1");
    v->result = OK;
    v->type = 1;
    if (v->field == POLICY_THERMAL) {
        v->type = 3;
        v->value.ull = 1000000000ull * 7;
        if (has("slowed") && g->index == 0) v->value.ull += (unsigned long long)(0.25e9 * now_s());
    } else if (dark || (module && !(has("module") && g->index == 0))) v->result = NOT_SUPPORTED;
    else if (v->field == POWER_INSTANT) v->value.ui = read_mw(g, 0) + (module ? 90000 : 0);
    else if (v->field == POWER_AVERAGE && g->index == 0) v->value.ui = read_mw(g, 1);
    else if (v->field == POWER_MAX_LIMIT) {
        v->type = 0; /* drivers differ in the type of the same field */
        v->value.d = 900000;
    } else v->result = NOT_SUPPORTED;
}
int nvmlDeviceGetTemperature(gpu *g, unsigned sensor, unsigned *temperature) {
    if (sensor != 0) return INVALID_ARGUMENT;
    *temperature = g->index == 0 ? 61 : 38;
    if (g->index == 1 && has("dark1")) return NOT_SUPPORTED;
    return alive(g);
}
int nvmlDeviceGetFieldValues(gpu *g, int count, field_value *values) {
    if (has("nofields")) return INVALID_ARGUMENT;
    for (int i = 0; i < count; i++) answer(g, &values[i]);
    return alive(g);
}

int nvmlDeviceGetComputeMode(gpu *g, unsigned *mode) {
    *mode = has("exclusive") ? 3 : 0;
    return alive(g);
}
/* Call `take` for every process that runs on GPU 0. */
static unsigned each_process(void (*take)(unsigned, int, char, void *), void *to) {
    const char *set = getenv("FAKE_NVML_PROCESSES");
    unsigned count = 0;
    for (; set != NULL && *set; set = strchr(set, ',') ? strchr(set, ',') + 1 : NULL, count++) {
        char *rest, *colon = strchr(set, ':');
        int percent = colon[1] == '-' ? -1 : (int)strtol(colon + 1, &rest, 10);
        if (percent > 0 && rests(now_s())) percent = 0;
        take((unsigned)strtoul(set, NULL, 10), percent, strchr(colon + 1, ':')[1], to);
    }
    return count;
}
struct list { char wanted; unsigned count, room; process_info *infos; };
static void add_process(unsigned pid, int percent, char type, void *to) {
    struct list *list = to;
    (void)percent;
    if (list->wanted == 'M' && type != 'M') return;
    if (list->infos != NULL && list->count < list->room)
        list->infos[list->count] = (process_info){pid, 1 << 20, ~0u, ~0u};
    list->count++;
}
static int processes(gpu *g, char wanted, unsigned *count, process_info *infos) {
    struct list list = {wanted, 0, *count, infos};
    if (g->index == 0 && !has("mig")) each_process(add_process, &list);
    *count = list.count;
    if (alive(g) != OK) return alive(g);
    return list.count > list.room ? INSUFFICIENT_SIZE : OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(gpu *g, unsigned *count, process_info *infos) {
    return processes(g, 'C', count, infos);
}
int nvmlDeviceGetMPSComputeRunningProcesses_v3(gpu *g, unsigned *count, process_info *infos) {
    return processes(g, 'M', count, infos);
}
struct named { unsigned pid; int server; };
static void look_name(unsigned pid, int percent, char type, void *to) {
    struct named *named = to;
    (void)percent;
    if (pid == named->pid && type == 'S') named->server = 1;
}
int nvmlSystemGetProcessName(unsigned pid, char *name, unsigned size) {
    struct named named = {pid, 0};
    each_process(look_name, &named);
    snprintf(name, size, "%s", named.server ? "/usr/bin/nvidia-cuda-mps-server" : "python");
    return OK;
}

struct samples { unsigned long long since_us; unsigned count, room; util_sample *to; };
static void add_sample(unsigned pid, int percent, char type, void *to) {
    struct samples *s = to;
    unsigned long long time_us = (unsigned long long)(1e6 * tick(now_s(), 0.2));
    (void)type;
    if (percent < 0 || time_us <= s->since_us) return;
    if (s->to != NULL && s->count < s->room)
        s->to[s->count] = (util_sample){pid, time_us, (unsigned)percent, 1, 0, 0};
    s->count++;
}
int nvmlDeviceGetProcessUtilization(gpu *g, util_sample *to, unsigned *count, unsigned long long since_us) {
    struct samples s = {since_us, 0, to == NULL ? 0 : *count, to};
    if (alive(g) != OK) return alive(g);
    if (has("utildenied")) return NO_PERMISSION;
    if (has("utilunsupported") || has("mig")) return NOT_SUPPORTED;
    if (g->index == 0) each_process(add_sample, &s);
    if (has("garbage")) { /* what drivers were seen to add: no percent, no process, an old time */
        add_sample(99, 2147483632, 'C', &s);
        add_sample(0, 50, 'C', &s);
    }
    *count = s.count;
    return s.count == 0 ? NOT_FOUND : s.count > s.room ? INSUFFICIENT_SIZE : OK;
}
static void add_percent(unsigned pid, int percent, char type, void *to) {
    (void)pid, (void)type;
    *(int *)to += percent > 0 ? percent : 0;
}
int nvmlDeviceGetUtilizationRates(gpu *g, rates *to) {
    int percent = has("display") ? 40 : 0;
    if (has("mig") || has("norates")) return NOT_SUPPORTED;
    if (g->index == 0) each_process(add_percent, &percent);
    *to = (rates){(unsigned)(percent > 100 ? 100 : percent), 0};
    return alive(g);
}

int nvmlDeviceGetMigMode(gpu *g, unsigned *current, unsigned *pending) {
    if (g->index != 0) return alive(g) == OK ? NOT_SUPPORTED : GPU_IS_LOST;
    *current = *pending = (unsigned)has("mig");
    return alive(g);
}
int nvmlDeviceGetMaxMigDeviceCount(gpu *g, unsigned *count) { *count = MOST_MIGS; return alive(g); }
int nvmlDeviceGetMigDeviceHandleByIndex(gpu *g, unsigned index, gpu **mig) {
    if (index >= MIGS || migs[index].uuid == NULL) return NOT_FOUND;
    return hand(g->index, (int)index, mig);
}
int nvmlDeviceGetGpuInstanceId(gpu *g, unsigned *id) { *id = migs[g->mig].gi; return alive(g); }
int nvmlDeviceGetAttributes_v2(gpu *g, attributes *to) {
    unsigned gi = migs[g->mig].gi_slices, ci = migs[g->mig].ci_slices;
    *to = (attributes){14 * ci, 1, 1, 0, 0, 0, gi, ci, 20480};
    return alive(g);
}
int nvmlGpmQueryDeviceSupport(gpu *g, gpm_support *to) {
    if (to->version != 1) return INVALID_ARGUMENT;
    to->supported = !has("nogpm");
    return alive(g);
}
int nvmlGpmSampleAlloc(gpm_sample **to) { *to = calloc(1, sizeof **to); return OK; }
int nvmlGpmSampleFree(gpm_sample *sample) { free(sample); return OK; }
int nvmlGpmMigSampleGet(gpu *g, unsigned gi, gpm_sample *to) {
    const char *set = getenv("FAKE_NVML_ACTIVITY");
    if (has("gpmdenied")) return NO_PERMISSION;
    to->time_s = now_s();
    for (; set != NULL && *set; set = strchr(set, ',') ? strchr(set, ',') + 1 : NULL)
        if (strtoul(set, NULL, 10) == gi) to->busy_s = to->time_s * atof(strchr(set, ':') + 1);
    return alive(g);
}
int nvmlGpmMetricsGet(gpm_query *query) {
    double passed_s = query->second->time_s - query->first->time_s;
    if (query->version != 1 || query->count != 1 || query->metrics[0].id != 2) return INVALID_ARGUMENT;
    if (passed_s < 0.1) return INVALID_ARGUMENT;
    query->metrics[0].value = (query->second->busy_s - query->first->busy_s) / passed_s;
    query->metrics[0].result = OK;
    return OK;
}
const char *nvmlErrorString(int code) {
    return code == DRIVER_NOT_LOADED ? "Driver Not Loaded"
         : code == NO_PERMISSION ? "Insufficient Permissions"
         : code == GPU_IS_LOST ? "GPU is lost"
         : code == LIB_RM_VERSION_MISMATCH ? "Driver/library version mismatch" : "other";
}
