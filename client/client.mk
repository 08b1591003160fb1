# To be included by the Makefile of a program that uses client/.  It sets CLIENT_OBJS and the rule
# that makes them, in the folder $(BUILD); CLIENT is the path to this folder.
PG_CONFIG ?= pg_config

CLIENT_OBJS = $(addprefix $(BUILD)/client/, memory.o buffer.o clock.o log.o options.o json_span.o loop.o connection.o subscription.o)
CLIENT_CFLAGS = -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wmissing-prototypes -Wpointer-arith -Wvla \
	-I$(CLIENT) $(shell pkg-config --cflags libpq 2>/dev/null || echo -I`$(PG_CONFIG) --includedir`)
CLIENT_LIBS = $(shell pkg-config --libs libpq 2>/dev/null || echo -L`$(PG_CONFIG) --libdir` -lpq)
# of the build: -O2 -g, instruments
CFLAGS ?= -O2 -g
COPT ?=

$(BUILD)/client/%.o: $(CLIENT)/%.c
	@mkdir -p $(@D)
	$(CC) $(CLIENT_CFLAGS) $(CPPFLAGS) $(CFLAGS) $(COPT) -MMD -MP -c -o $@ $<

-include $(CLIENT_OBJS:.o=.d)
