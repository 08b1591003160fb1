{{ config(materialized='table') }}
SELECT count(*) AS regions, sum(total) AS total FROM {{ ref('large_regions') }}
