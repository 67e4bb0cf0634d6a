-- +goose Up

CREATE TABLE vehicle (
    id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vin text COLLATE "C" NOT NULL UNIQUE CHECK (length(vin) = 17)
);

-- What a vehicle reported, one row a vehicle and time. A null is a signal that
-- it did not report then. Times are nanoseconds since 1970 in UTC, because
-- timestamptz keeps microseconds only and two samples must not fall together.
CREATE TABLE sample (
    vehicle_id          bigint NOT NULL REFERENCES vehicle,
    time_ns             bigint NOT NULL,
    speed               double precision,
    latitude            double precision,
    longitude           double precision,
    altitude            double precision,
    heading             double precision,
    charge_current      double precision,
    charge_displayed    double precision,
    battery_voltage     double precision,
    battery_power       double precision,
    battery_temperature double precision,
    air_temperature     double precision,
    humidity            double precision,
    current_gear        double precision,
    selected_gear       double precision,
    PRIMARY KEY (vehicle_id, time_ns)
);

-- The newest value of each signal. Rows are rewritten often and in place, so
-- room is left in the pages.
CREATE TABLE state (
    vehicle_id bigint NOT NULL REFERENCES vehicle,
    signal     text COLLATE "C" NOT NULL,
    value      double precision NOT NULL,
    time_ns    bigint NOT NULL,
    PRIMARY KEY (vehicle_id, signal)
) WITH (fillfactor = 70);

-- The newest position again, as a point (longitude, latitude) that an index can
-- search by area.
CREATE TABLE last_position (
    vehicle_id bigint PRIMARY KEY REFERENCES vehicle,
    place      point  NOT NULL,
    time_ns    bigint NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX last_position_place ON last_position USING gist (place);

-- +goose Down

DROP TABLE last_position;
DROP TABLE state;
DROP TABLE sample;
DROP TABLE vehicle;
