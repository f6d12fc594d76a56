/* A small libnvidia-ml.so.1 that reports the machine compiled into it: enough for pynvml.

machine.h defines DRIVER, CUDA (1000 * major + 10 * minor), COUNT (GPUs), NODES (GPUs and MIG instances), OLD (functions
of drivers before 510), and per node NAMES, UUIDS, TOTAL, RESERVED, FREE, MAJOR, MINOR, GONE
(NVML error of every question), MIG (-1: not supported), FIRST and INSTANCES (its MIG instances among the nodes),
PROCESSES, HELD (bytes of each; ~0 when not available); per pair P2P, LINK (NVML_P2P_STATUS_*) and ANCESTOR. */
#include <string.h>
#include "machine.h"

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gi, ci; } process_t;
enum { UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, SMALL = 7, FUNCTION_NOT_FOUND = 13, LOST = 15 };
static int nodes[NODES + 1];
static int alive = 0;

static int *node(int index) {
    nodes[index] = index;
    return &nodes[index];
}
#define OPEN(handle)                          \
    int index = *(int *)(handle);             \
    if (!alive) return UNINITIALIZED;         \
    if (GONE[index]) return GONE[index];

int nvmlInit_v2(void) { alive++; return 0; }
int nvmlInitWithFlags(unsigned int flags) { (void)flags; alive++; return 0; }
int nvmlShutdown(void) { alive--; return 0; }
const char *nvmlErrorString(int code) { return code == LOST ? "GPU is lost" : "error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned int length) { strncpy(text, DRIVER, length); return 0; }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = CUDA; return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = COUNT; return alive ? 0 : UNINITIALIZED; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) {
    if (index >= COUNT) return INVALID;
    if (GONE[index] == LOST && !NAMES[index][0]) return LOST; /* fell off the bus before anyone asked */
    *handle = node((int)index);
    return 0;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned int length) {
    int index = *(int *)handle;
    strncpy(text, NAMES[index], length);
    return 0;
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned int length) {
    OPEN(handle)
    strncpy(text, UUIDS[index], length);
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    OPEN(handle)
    memory->total = TOTAL[index];
    memory->free = FREE[index];
    memory->used = TOTAL[index] - FREE[index];
    return 0;
}
#if !OLD
int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2_t *memory) {
    OPEN(handle)
    if (memory->version != 0x02000028) return INVALID;
    memory->total = TOTAL[index];
    memory->reserved = RESERVED[index];
    memory->free = FREE[index];
    memory->used = TOTAL[index] - FREE[index] - RESERVED[index];
    return 0;
}
#endif
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    int index = *(int *)handle;
    if (index >= COUNT) return INVALID; /* MIG instances do not answer */
    *major = MAJOR[index];
    *minor = MINOR[index];
    return 0;
}
int nvmlDeviceGetMigMode(void *handle, unsigned int *current, unsigned int *pending) {
    OPEN(handle)
    if (MIG[index] < 0) return NOT_SUPPORTED;
    *current = *pending = (unsigned int)MIG[index];
    return 0;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned int *count) {
    OPEN(handle)
    *count = MIG[index] < 0 ? 0 : 7;
    return 0;
}
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned int number, void **instance) {
    OPEN(handle)
    if ((int)number >= INSTANCES[index]) return NOT_FOUND;
    *instance = node(FIRST[index] + (int)number);
    return 0;
}
static int running(void *handle, unsigned int *count, process_t *rows) {
    OPEN(handle)
    unsigned int found = (unsigned int)PROCESSES[index];
    if (found && (!rows || *count < found)) {
        *count = found;
        return SMALL;
    }
    for (unsigned int i = 0; i < found; i++) rows[i] = (process_t){4000 + i, HELD[index], 0xFFFFFFFF, 0xFFFFFFFF};
    *count = found;
    return 0;
}
#if OLD
#define LATEST(name) name##_v2
#else
#define LATEST(name) name##_v3
#endif
int LATEST(nvmlDeviceGetComputeRunningProcesses)(void *handle, unsigned int *count, process_t *rows) {
    return running(handle, count, rows);
}
int LATEST(nvmlDeviceGetGraphicsRunningProcesses)(void *handle, unsigned int *count, process_t *rows) {
    return running(handle, count, rows); /* the same processes draw, too: they must not be counted twice */
}
int nvmlDeviceGetTopologyCommonAncestor(void *a, void *b, int *level) {
    (void)a, (void)b;
    if (ANCESTOR < 0) return NOT_SUPPORTED;
    *level = ANCESTOR;
    return 0;
}
int nvmlDeviceGetP2PStatus(void *a, void *b, int what, int *status) {
    if (*(int *)a >= COUNT || *(int *)b >= COUNT) return INVALID;
    *status = what == 2 ? LINK : P2P;
    return 0;
}
