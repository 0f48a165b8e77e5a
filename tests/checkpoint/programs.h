/* What the programs share: see programs.c. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Says what the program thinks and ends it. */
void verdict(const char *format, ...);

#define CHECK(good) \
	do { \
		if (!(good)) \
			verdict("line %d: %s (errno %d)", __LINE__, #good, errno); \
	} while (0)

/* Tells that all is set up. */
void ready(void);
void await(const char *path);
/* Tells that, and waits to be asked for the verdict. */
void stage(void);

/* memories.c */
void generations(void);
void heap(void);
void droppable(void);

/* sockets.c */
void unix_streams(void);
void unix_messages(void);
void unix_names(void);
void network(void);
void connected(void);
void disconnected(void);

/* aio.c */
void aio(void);

/* watching.c */
void watching(void);

/* terminals.c */
void terminals(void);

/* written.c */
void written(void);
void settled(void);

/* sharing.c */
void shared_settled(void);
void shared_written(void);

/* revised.c */
void revised(void);
