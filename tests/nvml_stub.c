/* A small libnvidia-ml.so.1 that reports the machine compiled into it: enough for pynvml. */
#include <string.h>
#include "machine.h" /* DRIVER, COUNT, NAMES, TOTAL, FREE, MAJOR, MINOR */

typedef struct { unsigned long long total, free, used; } memory_t;
static int indices[COUNT + 1];

int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned int flags) { (void)flags; return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : "error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned int length) { strncpy(text, DRIVER, length); return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) {
    if (index >= COUNT) return 2;
    indices[index] = (int)index;
    *handle = &indices[index];
    return 0;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned int length) {
    strncpy(text, NAMES[*(int *)handle], length);
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    int index = *(int *)handle;
    if (!TOTAL[index]) return 15;
    memory->total = TOTAL[index];
    memory->free = FREE[index];
    memory->used = TOTAL[index] - FREE[index];
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    *major = MAJOR[*(int *)handle];
    *minor = MINOR[*(int *)handle];
    return 0;
}
