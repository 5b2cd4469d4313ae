/* What both ends of a benchmark need: a clock, a buffer that grows, the command line, as many files as we may have. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 512, FIRST_BUFFER = 4096 };

/* Nanoseconds of the clock that both ends share; they run on the same machine. */
static inline uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

struct buffer {
    char *bytes;
    size_t length, capacity;
};

static inline void *or_abort(void *memory) {
    if (!memory)
        abort();
    return memory;
}

/* Make room for so many bytes more. */
static inline void reserve(struct buffer *buffer, size_t room) {
    if (buffer->length + room <= buffer->capacity)
        return;
    size_t capacity = buffer->capacity ? buffer->capacity : FIRST_BUFFER;
    while (capacity < buffer->length + room)
        capacity *= 2;
    buffer->bytes = or_abort(realloc(buffer->bytes, capacity));
    buffer->capacity = capacity;
}

static inline void append(struct buffer *buffer, const char *bytes, size_t count) {
    reserve(buffer, count);
    memcpy(buffer->bytes + buffer->length, bytes, count);
    buffer->length += count;
}

/* The value of a `--name value` pair, or what is meant without it. */
static inline const char *option(int count, char **arguments, const char *name, const char *otherwise) {
    for (int i = 1; i + 1 < count; i += 2)
        if (!strcmp(arguments[i], name))
            return arguments[i + 1];
    return otherwise;
}

static inline long number(int count, char **arguments, const char *name, const char *otherwise) {
    return atol(option(count, arguments, name, otherwise));
}

static inline struct sockaddr_in loopback(long port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline void send_at_once(int socket) {
    int one = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static inline void prepare_process(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
}
